"""The supervisor's loop: receive beats and reports, decide, publish the plan."""
