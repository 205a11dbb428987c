"""Public Gymnasium environments, admitted and practised."""
