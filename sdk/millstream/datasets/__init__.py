"""Public data sets that reference models are trained and measured on, read where they are installed."""
