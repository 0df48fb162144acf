"""What is seen, sent where somebody asked for it: metrics and spans over OTLP/HTTP."""
