"""The commands, one module per noun: parse, call one service, print."""
