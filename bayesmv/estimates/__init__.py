"""Reading of results: components, genetic parameters, breeding values, curves, loadings."""
