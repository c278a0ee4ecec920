"""Published import paths of forms and their errors, and the panel's pages that show forms."""
