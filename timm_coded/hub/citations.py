"""What one cites, as BibTeX."""
PAPER = '''@inproceedings{avranas2022coded,
  title     = {Towards Disentangling Information Paths with Coded {ResNeXt}},
  author    = {Avranas, Apostolos and Kountouris, Marios},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022},
  url       = {https://arxiv.org/abs/2202.05343}
}'''
TIMM = '''@misc{rw2019timm,
  author       = {Wightman, Ross},
  title        = {PyTorch Image Models},
  year         = {2019},
  howpublished = {\\url{https://github.com/huggingface/pytorch-image-models}},
  doi          = {10.5281/zenodo.4414861}
}'''
