"""Personalisation: what an infringer, an honest artist and a surrogate's maker all do."""
