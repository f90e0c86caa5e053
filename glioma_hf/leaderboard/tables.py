"""The tables: the seven of the cell segmentation benchmark report (section 2.1), submissions, and what these need.

Names and constraints are the report's: ids are unique, a developer's name isn't null, a password's hash has a least
length, a task has a least number of images. That cell images and tasks are many-to-many takes a table between them.
A score's name says what, its mode how (masks as they are, or flattened); the whole row of `benchmark.results` lies
beside, so that intervals and rankings follow without scoring again.

All but `Visit` and `Lease` are recorded: see `database.py`.
"""

from __future__ import annotations

import datetime
import time
import uuid
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, relationship

from glioma_hf.leaderboard.words import DEVELOPER, HERE, KINDS, MAINTAINER, MODES, PAPER, RECEIVED, STANDING, STATES

LEAST_HASH = 60  # signs of a password's hash; argon2's have 97
LEAST_IMAGES = 1  # of a task


def new_id() -> str:
    """An id that nobody guesses and no other row has."""
    return uuid.uuid4().hex


def now() -> datetime.datetime:
    """This moment, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def next_version(last: int | None) -> int:
    """The version of a row that changes, higher than all before, also those of a row of its key that was deleted."""
    return max(time.time_ns() // 1000, (last or 0) + 1)


class Moment(TypeDecorator[datetime.datetime]):
    """A time in UTC, the same on every database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Any) -> datetime.datetime | None:
        """As databases without time zones keep it."""
        return None if value is None else value.astimezone(datetime.timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Any) -> datetime.datetime | None:
        """With its zone."""
        return None if value is None else value.replace(tzinfo=datetime.timezone.utc)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime.datetime: Moment, dict[str, Any]: JSON}  # noqa: RUF012


class Recorded(Base):
    """Tables whose every change is recorded before it counts; `version` rises with each change of a row."""

    __abstract__ = True
    version: Mapped[int] = mapped_column(BigInteger)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version, "version_id_generator": next_version}


class Developer(Recorded):
    """Who takes part; without a password where the Hub says who it is."""

    __tablename__ = "developer"
    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 40", name="name"),
        CheckConstraint(f"pass_hash IS NULL OR length(pass_hash) >= {LEAST_HASH}", name="pass_hash"),
        CheckConstraint(_one_of("role", (DEVELOPER, MAINTAINER)), name="role"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    email: Mapped[str | None] = mapped_column(String(254))
    pass_hash: Mapped[str | None] = mapped_column(String(255))
    hub_name: Mapped[str | None] = mapped_column(String(96), unique=True)
    role: Mapped[str] = mapped_column(String(16), default=DEVELOPER)
    created: Mapped[datetime.datetime] = mapped_column(default=now)


class DataSet(Recorded):
    """A prepared data set that tasks are of; where it is hidden, its references leave the server in no form."""

    __tablename__ = "data_set"
    __table_args__ = (CheckConstraint("length(name) BETWEEN 1 AND 80", name="name"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    licence: Mapped[str] = mapped_column(String(80), default="")
    place: Mapped[str | None] = mapped_column(String(1024))  # a folder or USER/NAME; None: only the paper's figures
    hidden: Mapped[bool] = mapped_column(default=False)


class Task(Recorded):
    """Objects of a split that are looked for."""

    __tablename__ = "task"
    __table_args__ = (CheckConstraint(f"num_images >= {LEAST_IMAGES}", name="num_images"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    data_set_id: Mapped[str] = mapped_column(ForeignKey("data_set.id"), index=True)
    split: Mapped[str] = mapped_column(String(80))
    objects: Mapped[str] = mapped_column(String(80))
    num_images: Mapped[int]
    description: Mapped[str] = mapped_column(Text, default="")
    data_set: Mapped[DataSet] = relationship(lazy="joined")


class CellImage(Recorded):
    """An image, by what it shows and how it was taken."""

    __tablename__ = "cell_image"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    data_set_id: Mapped[str] = mapped_column(ForeignKey("data_set.id"), index=True)
    split: Mapped[str] = mapped_column(String(80))
    file_name: Mapped[str] = mapped_column(String(400))
    cell_type: Mapped[str] = mapped_column(String(80), index=True)
    imaging_modality: Mapped[str] = mapped_column(String(80), index=True)
    instance_seg: Mapped[bool] = mapped_column(default=True)
    image_url: Mapped[str] = mapped_column(String(1024))
    label_url: Mapped[str] = mapped_column(String(1024))


class TaskImage(Recorded):
    """Which images a task has, in its order."""

    __tablename__ = "task_image"
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id"), primary_key=True)
    cell_image_id: Mapped[str] = mapped_column(ForeignKey("cell_image.id"), primary_key=True, index=True)
    position: Mapped[int]


class Model(Recorded):
    """A model, the paper's or a developer's; others see it once it is published."""

    __tablename__ = "model"
    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 120", name="name"),
        CheckConstraint(_one_of("source", (PAPER, HERE)), name="source"),
        CheckConstraint("num_params IS NULL OR num_params >= 0", name="num_params"),
        Index("uq_model_developer_name", "developer_id", "name", unique=True),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    developer_id: Mapped[str] = mapped_column(ForeignKey("developer.id"))
    name: Mapped[str] = mapped_column(String(120))
    backbone: Mapped[str] = mapped_column(String(120), default="")
    learning_method: Mapped[str] = mapped_column(String(200), default="")
    zero_shot: Mapped[bool] = mapped_column(default=False)  # trained on nothing of the data sets that it is scored on
    num_params: Mapped[int | None] = mapped_column(BigInteger)
    licence: Mapped[str] = mapped_column(String(80), default="")
    paper_url: Mapped[str] = mapped_column(String(400), default="")
    code_url: Mapped[str] = mapped_column(String(400), default="")
    card: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[str] = mapped_column(String(8), default=HERE)
    published: Mapped[bool] = mapped_column(default=False)
    upload_time: Mapped[datetime.datetime] = mapped_column(default=now)
    developer: Mapped[Developer] = relationship(lazy="joined")


class Submission(Recorded):
    """What was sent for a task, and how far it is."""

    __tablename__ = "submission"
    __table_args__ = (
        CheckConstraint(_one_of("state", STATES), name="state"),
        CheckConstraint(_one_of("kind", KINDS), name="kind"),
        Index("ix_submission_developer_created", "developer_id", "created"),
        # One at a time for a model and task: nothing is scored beside itself.
        Index(
            "uq_submission_standing",
            "model_id",
            "task_id",
            unique=True,
            sqlite_where=text(_one_of("state", STANDING)),
            postgresql_where=text(_one_of("state", STANDING)),
        ),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    developer_id: Mapped[str] = mapped_column(ForeignKey("developer.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"))
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    file_name: Mapped[str] = mapped_column(String(255))
    payload: Mapped[str] = mapped_column(String(200))  # its name in the record
    sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default=RECEIVED, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    told: Mapped[str] = mapped_column(Text, default="")  # why it failed, or what should be known of its scores
    created: Mapped[datetime.datetime] = mapped_column(default=now)
    finished: Mapped[datetime.datetime | None]
    model: Mapped[Model] = relationship(lazy="joined")
    task: Mapped[Task] = relationship(lazy="joined")


class Prediction(Recorded):
    """Where a model's answer for an image lies: a file of the record, and the image's name in it."""

    __tablename__ = "prediction"
    __table_args__ = (Index("ix_prediction_task", "task_id", "model_id"),)
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id"), primary_key=True)
    cell_image_id: Mapped[str] = mapped_column(ForeignKey("cell_image.id"), primary_key=True)
    prediction_url: Mapped[str] = mapped_column(String(400))


class Metric(Recorded):
    """A score by its name."""

    __tablename__ = "metric"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str] = mapped_column(String(40))
    description: Mapped[str] = mapped_column(Text)
    higher_is_better: Mapped[bool]
    position: Mapped[int]


class Performance(Recorded):
    """A score of a model on a task, in one mode."""

    __tablename__ = "performance"
    __table_args__ = (
        CheckConstraint(_one_of("mode", MODES), name="mode"),
        Index("ix_performance_board", "task_id", "mode", "metric_name", "score"),
    )
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(16), primary_key=True)
    metric_name: Mapped[str] = mapped_column(ForeignKey("metric.name"), primary_key=True)
    score: Mapped[float]


class Scoring(Recorded):
    """The whole row of `benchmark.results` behind a model's performance on a task, in one mode.

    `low` and `high` are the 95 % interval of the AP at the first threshold, by bootstrap over the images.
    """

    __tablename__ = "scoring"
    __table_args__ = (Index("ix_scoring_board", "task_id", "mode"),)
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("task.id"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(16), primary_key=True)
    submission_id: Mapped[str | None] = mapped_column(ForeignKey("submission.id"), index=True)
    low: Mapped[float | None]
    high: Mapped[float | None]
    row: Mapped[dict[str, Any]]


class Visit(Base):
    """Somebody who is logged in: of the cookie only its hash is kept."""

    __tablename__ = "visit"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    developer_id: Mapped[str] = mapped_column(ForeignKey("developer.id", ondelete="CASCADE"), index=True)
    expires: Mapped[datetime.datetime] = mapped_column(index=True)


class Lease(Base):
    """Which worker scores a submission, and until when that may be believed without another word of it."""

    __tablename__ = "lease"
    submission_id: Mapped[str] = mapped_column(ForeignKey("submission.id", ondelete="CASCADE"), primary_key=True)
    worker: Mapped[str] = mapped_column(String(32))
    until: Mapped[datetime.datetime] = mapped_column(index=True)


RECORDED: tuple[type[Recorded], ...] = (
    Developer,
    DataSet,
    Task,
    CellImage,
    TaskImage,
    Model,
    Submission,
    Prediction,
    Metric,
    Performance,
    Scoring,
)  # each after those that it points to
