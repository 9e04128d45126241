"""What commands show: tables and figures for the terminal, pictures for the page, and the words for them."""
