"""Results to and from MRML nodes; takes the scene as an argument, knows no Qt."""
