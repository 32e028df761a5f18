"""What users name in text, on the command line and in recipes, as what it stands for.

    model                  a path, or package.module:function, as a Graph
    data, images, npz      samples: of a function, a folder of images, an .npz file; and the writing of one
    labels                 labels that lie among the samples
    metric                 the user's metric
"""
