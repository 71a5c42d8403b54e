"""How good a model is: metrics under named protocols, frozen test sets, reports. Imports neither Ray nor the web."""
