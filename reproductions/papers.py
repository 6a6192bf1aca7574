"""The papers whose claims are compared with boards, and what they pruned."""

from __future__ import annotations

from answers import Source

LOTTERY = Source("Frankle & Carbin 2019", "1803.03635", "LeNet-300-100 on MNIST, and convolutional networks")
CONV_DROPOUT = Source("Frankle & Carbin 2019, section 4", "1803.03635", "20,000 iterations and twelve levels")
STABLE = Source("Frankle et al. 2019", "1903.01611", "ResNets and VGG on CIFAR-10 and ImageNet")
RENDA = Source("Renda et al. 2020", "2003.02389", "ResNets on CIFAR-10 and ImageNet, GNMT")
EVCI = Source("Evci et al. 2020", "1911.11134", "ResNet-50 on ImageNet, WRN-22-2 on CIFAR-10")
MISSING = Source("Frankle et al. 2021", "2009.08576", "ResNets and VGG on CIFAR-10, Tiny ImageNet and ImageNet")
EARLY_BIRD = Source("You et al. 2020", "1909.11957", "channels of VGG-16 and PreResNet-101 on CIFAR")
SNIP_ITERATIVE = Source("de Jorge et al. 2021", "2006.09081", "VGG-19 and ResNet-50 on CIFAR and Tiny ImageNet")
ROSENFELD = Source("Rosenfeld et al. 2021", "2006.10621", "ResNets of many sizes on CIFAR-10 and ImageNet")
CONNECTED = Source("Frankle et al. 2020", "1912.05671", "LeNet on MNIST, ResNets and VGG on CIFAR-10 and ImageNet")
MORCOS = Source("Morcos et al. 2019", "1906.02773", "VGG-19 and ResNet-50 on data sets of natural images")
TANAKA = Source("Tanaka et al. 2020", "2006.05467", "VGG and ResNets on CIFAR and Tiny ImageNet")
PRUNINGBENCH = Source("Li et al. 2024 (PruningBench)", "2406.12315", "ResNet-50 on CIFAR-100 and others, one seed")

LANGUAGE = "language models, by perplexity"
WANDA = Source("Sun et al. 2024", "2306.11695", LANGUAGE)
SPARSEGPT = Source("Frantar & Alistarh 2023", "2301.00774", LANGUAGE)
ADMM = Source("Boža 2024", "2401.02938", LANGUAGE)
ALPS = Source("Meng et al. 2024", "2406.07831", LANGUAGE)
RIA = Source("Zhang et al. 2024 (RIA)", "https://iclr.cc/virtual/2024/poster/18549", LANGUAGE)
DSNOT = Source("Zhang et al. 2024 (DSnoT)", "2310.08915", LANGUAGE)
PERP = Source("Zimmer et al. 2023", "2312.15230", LANGUAGE)
OATS = Source("Zhang & Papyan 2024", "2409.13652", "language models and vision transformers")
OWL = Source("Yin et al. 2024", "2310.05175", LANGUAGE)
ASP = Source("Mishra et al. 2021", "2104.08378", "networks for images and language, on GPUs")
WOODFISHER = Source("Singh & Alistarh 2020", "2004.14340", "ResNets on CIFAR-10 and ImageNet")
CHITA = Source("Benbaki et al. 2023", "2302.14623", "MLPNet, ResNet-20 and MobileNetV1")
CBS = Source("Yu et al. 2022", "2203.04466", "MLPNet, ResNet-20 and MobileNetV1")
