"""The decisions about a trigger before it is stored: expansion, route, recipient caps and quiet hours."""
