"""Real Docker Engines, several versions, on one machine, without touching the machine they run on."""
