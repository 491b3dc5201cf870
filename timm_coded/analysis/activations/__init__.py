"""What the subNNs of a trained model put out: Appendix F of the paper."""
