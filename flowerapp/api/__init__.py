"""The REST API: readers and verbs over the engine."""
