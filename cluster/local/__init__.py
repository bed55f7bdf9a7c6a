"""One machine's installation: state directory, private Redis, Ray, HAProxy, and the process that holds them."""
