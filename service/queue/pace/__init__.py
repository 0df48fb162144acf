"""How fast messages may go out, so that WhatsApp takes the account for a person's."""
