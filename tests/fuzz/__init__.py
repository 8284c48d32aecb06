"""Generated command lines, stores, exports, plugins and data files, and what must come of them."""
