"""How long a test waits for an event. It costs nothing when the event comes, so it is long enough for the slowest and busiest machine: only
what never comes is missed. No test asserts that something happened within a time; where a time is the claim, a bench of bench/ holds it."""
PATIENCE_S = 240
