"""The tests: `strategies` has the one list of schedules, of laws and of steps that all of them run over."""
