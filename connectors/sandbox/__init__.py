"""Partners that run: nodes and shops as real HTTP servers, sharing no code with the product."""
