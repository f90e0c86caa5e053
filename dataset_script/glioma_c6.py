"""Loading script of the Glioma C6 data set for `datasets` before release 4 (tried with 3.6.0).

    load_dataset("dataset_script/glioma_c6.py", data_dir=ARCHIVE, trust_remote_code=True)

`data_dir` is the archive, a zip or a folder in its layout; without it Zenodo's is fetched (947 MB).
From release 4 on `datasets` runs no scripts: open the Parquet folder of `glioma-hf data prepare`.
"""

import datasets

from glioma_hf.data.features import features
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import LICENCE_NOTE, ZENODO_URL, find_splits, read_rows

_SPLITS = {"train": datasets.Split.TRAIN, "validation": datasets.Split.VALIDATION, "test": datasets.Split.TEST}


class GliomaC6(datasets.GeneratorBasedBuilder):
    """`default` with splits spec and gen; `spec` with train, validation, test; `gen` with test."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIGS = [
        datasets.BuilderConfig("default", VERSION, description="All images; splits spec and gen."),
        datasets.BuilderConfig("spec", VERSION, description="The specialist part with its official splits."),
        datasets.BuilderConfig("gen", VERSION, description="The generalization part: test images alone."),
    ]
    DEFAULT_CONFIG_NAME = "default"
    DEFAULT_WRITER_BATCH_SIZE = 4  # rows of five megapixels

    def _info(self):
        return datasets.DatasetInfo(
            description="Phase-contrast images of C6 glioma cells with overlapping polygons.",
            features=features(),
            homepage="https://zenodo.org/records/17352019",
            license=LICENCE_NOTE,
            citation="Malashin et al., Glioma C6, arXiv:2511.07286, 2025",
        )

    def _split_generators(self, dl_manager):
        path = self.config.data_dir or dl_manager.download(ZENODO_URL)
        with Archive(path) as archive:
            splits = find_splits(archive)
        if self.config.name == "default":
            names = dict.fromkeys(split.subset for split in splits)
            chosen = {name: [split for split in splits if split.subset == name] for name in names}
        else:
            chosen = {_SPLITS[split.split]: [split] for split in splits if split.subset == self.config.name}
        if not chosen:
            raise ValueError(f"{path} holds no part {self.config.name!r}")
        return [
            datasets.SplitGenerator(name, gen_kwargs={"path": path, "splits": splits})
            for name, splits in chosen.items()
        ]

    def _generate_examples(self, path, splits):
        with Archive(path) as archive:
            for split in splits:
                for row in read_rows(archive, split):
                    yield f"{split.subset}-{split.split}-{row['image_id']}", row
