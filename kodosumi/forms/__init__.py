"""Forms: the elements of an endpoint's user interface, ``Model`` and ``InputsError``."""

from .button import Action, Cancel, Submit
from .choice import Checkbox, InputOption, Select
from .display import HR, HTML, Break, Errors, Markdown
from .element import Element
from .errors import InputsError
from .files import InputFiles
from .model import Model
from .moment import InputDate, InputDateTime, InputTime
from .number import InputNumber
from .text import InputArea, InputPassword, InputText

__all__ = [
    "HR",
    "HTML",
    "Action",
    "Break",
    "Cancel",
    "Checkbox",
    "Element",
    "Errors",
    "InputArea",
    "InputDate",
    "InputDateTime",
    "InputFiles",
    "InputNumber",
    "InputOption",
    "InputPassword",
    "InputText",
    "InputTime",
    "InputsError",
    "Markdown",
    "Model",
    "Select",
    "Submit",
]
