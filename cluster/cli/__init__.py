"""The command line: `main` starts and deploys, `operate` talks to a running service over HTTP."""
