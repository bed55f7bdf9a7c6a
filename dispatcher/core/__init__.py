"""Pure decisions, standard library only: state, event, time and chance are arguments; effects are values."""
