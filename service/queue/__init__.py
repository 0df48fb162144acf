"""Outbound messages: kept before they are promised, sent in order, settled by receipts."""
