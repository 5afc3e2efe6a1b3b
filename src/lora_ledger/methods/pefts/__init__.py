"""What is known of peft's methods without peft: a table of their keys, checks, modules, counts."""
