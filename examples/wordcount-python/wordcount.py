"""Count the words of text: a program for Stint written with its Python SDK."""

import stint


def words(ctx, line, emit):
    if ctx.params.get("fold") == "true":
        line = line.lower()
    for word in line.split():
        emit(word, 1)


def total(ctx, word, counts, emit):
    emit(word, sum(counts))


stages = {
    "count": stint.Stage(map=words, combine=total, value=int),
    "total": stint.Stage(reduce=total, value=int),
}

if __name__ == "__main__":
    stint.main(stages)
