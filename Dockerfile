# The reference project with gunicorn; docker-compose.yml starts the same image as the worker and for migrations.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_STATIC_ROOT=/app/staticfiles
WORKDIR /app
RUN useradd --create-home flower
COPY pyproject.toml README.md LICENSE ./
COPY flowerapp ./flowerapp
RUN pip install --no-cache-dir ".[server,postgres]"
COPY manage.py ./
COPY project ./project
COPY templates ./templates
RUN DJANGO_SECRET_KEY=build python manage.py collectstatic --noinput && chown -R flower .
USER flower
EXPOSE 8000
CMD ["gunicorn", "project.wsgi:application", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4"]
