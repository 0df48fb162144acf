"""What Beacon shows and accepts over HTTP: probes, metrics, the API and the page."""
