"""Tables, curves and plots of the study, and the page that holds them."""
