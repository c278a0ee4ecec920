"""Files in, files out: every uploaded document is read by a Ray task of its own, which leaves a report."""

from fastapi import Request
from ray import serve

from documents.reading import read_all
from kodosumi.core import InputsError, Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()

form = F.Model(
    F.Markdown("# Documents\nCounts lines, words and characters of text files, and leaves a report for each."),
    F.InputFiles(name="documents", label="Text files", multiple=True),
    F.InputArea(name="text", label="Or a text", rows=4),
    F.Submit("Read"),
    F.Cancel("Cancel"),
)


@app.enter("/", form, summary="Documents", description="Reads text files.", tags=["Example", "Files"])
async def enter(request: Request, inputs: dict):
    if not inputs["documents"] and not inputs["text"]:
        raise InputsError(documents="Choose a file, or write a text.")
    return Launch(request, read_all, inputs={"text": inputs["text"] or ""})


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Documents: ...


fast_app = Documents.bind()
