"""From models as users have them to the Graph."""
