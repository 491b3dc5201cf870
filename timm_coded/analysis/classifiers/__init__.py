"""Binary classifiers of single classes inside a coded model: Section 4.3 of the paper."""
