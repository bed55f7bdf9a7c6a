"""What breaks and judges an installation on purpose: sandbox vendors, load, drills, the demo and its verdict."""
