"""One machine's installation: its state directory, private Redis, Ray, HAProxy, and the process that starts them."""
