"""Pages and tables that tell people what evaluation found."""
