"""The supervisor's loop: hear beats and reports, decide, publish the plan."""
