"""A ResNet-18 with narrow channels, its parameters named as torchvision and timm name them."""

from torch import nn
from torchvision.models.resnet import BasicBlock


class NarrowResNet(nn.Module):
    """torchvision's v1.5 stem and basic blocks; the stem is as wide as the first stage."""

    def __init__(self, widths, depths, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            blocks = []
            for k in range(depth):
                stride = 2 if k == 0 and stage > 0 else 1
                shortcut = None
                if stride != 1 or before != width:
                    shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
                blocks.append(BasicBlock(before, width, stride, shortcut))
                before = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x):
        """The globally average-pooled feature z, [n, widths[-1]]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))
