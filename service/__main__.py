"""`python -m service` is the same program as `beacon`."""

from service.cli import main

if __name__ == "__main__":
    main()
