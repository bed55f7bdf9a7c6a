"""What becomes of a trigger before it is stored: expansion, route, recipient caps and quiet hours."""
