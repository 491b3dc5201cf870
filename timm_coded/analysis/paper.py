"""The paper's own figures, to stand beside ours as context: other data, longer training, other sizes of images."""
from .findings import Table

# Table 3: accuracy of the final prediction by the number of early decoders that agree with it; 6 stands for >= 6.
AGREEMENT = {
    0: (52.0, 48.7, 46.6), 1: (67.7, 69.5, 70.5), 2: (77.2, 77.2, 87.3), 3: (83.2, 87.7, 90.7), 4: (89.9, 90.7, 90.9),
    5: (92.1, 90.6, 91.1), 6: (98.1, 95.8, 92.6),
}

TABLES = {
    'evaluate': Table('paper_accuracy', "The paper's Table 2: top-1 in percent", [
        {'data set': 'CIFAR-10', 'Coded ResNeXt': 94.41, 'ResNeXt': 93.66},
        {'data set': 'CIFAR-100', 'Coded ResNeXt': 78.76, 'ResNeXt': 76.86},
        {'data set': 'ImageNet', 'Coded ResNeXt': 80.24, 'ResNeXt': 79.50},
    ]),
    'extract': Table('paper_sizes', "The paper's Section 4.3: parameters of one class, in percent", [
        {'network': 'CIFAR-10', 'parameters': 38}, {'network': 'CIFAR-100', 'parameters': 27},
        {'network': 'ImageNet', 'parameters': 35},
    ]),
    'classify': Table('paper_classifiers', "The paper's Section 4.3: classifiers of CIFAR-10, mean in percent", [
        {'classifier': 'extracted from Coded ResNeXt', 'precision': 93, 'recall': 77, 'F1': 84},
        {'classifier': 'extracted from ResNeXt', 'precision': 13, 'recall': 56, 'F1': None},
        {'classifier': 'logit of the whole ResNeXt', 'precision': 79, 'recall': 94, 'F1': 86},
    ]),
    'decode': Table('paper_agreement', "The paper's Table 3: accuracy by number of agreeing decoders, in percent", [
        {'agreeing decoders': '>= 6' if count == 6 else str(count), 'CIFAR-10': ten, 'CIFAR-100': hundred,
         'ImageNet': thousand} for count, (ten, hundred, thousand) in AGREEMENT.items()
    ]),
    'calibrate': Table('paper_calibration', "The paper's Table 6: (ECE, MCE) in percent", [
        {'data set': name, 'fitted on': share, 'ECE of h_T': ece, 'MCE of h_T': mce, 'ECE of h_aug': ece_aug,
         'MCE of h_aug': mce_aug}
        for name, share, ece, mce, ece_aug, mce_aug in (
            ('CIFAR-10', '25 %', .70, 24.35, .70, 24.14), ('CIFAR-10', '50 %', .80, 24.83, .80, 23.64),
            ('CIFAR-100', '25 %', 1.75, 10.28, 1.71, 9.31), ('CIFAR-100', '50 %', 1.82, 11.37, 1.79, 10.44),
            ('ImageNet', '25 %', 2.98, 8.32, 3.00, 7.70), ('ImageNet', '50 %', 3.01, 8.56, 3.05, 8.10))
    ]),
}
