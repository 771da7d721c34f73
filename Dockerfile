# The one image of the project: docker-compose.yml says what web, worker, beat and release run in it.
# One stage: every requirement is a wheel, so no compiler comes in that would have to be left behind.
FROM python:3.13-slim-trixie

ENV DJANGO_ENV=production \
    DJANGO_SETTINGS_MODULE=config.settings \
    PYTHONUNBUFFERED=1

# Numbers and not names: what runs containers can then tell that this is not root.
RUN groupadd --system --gid 10001 app \
 && useradd --system --uid 10001 --gid app --no-create-home --home-dir /nonexistent app

WORKDIR /app

# Before the code, which changes more often than what it needs.
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r requirements.txt

# What .dockerignore lets through. It stays root's, so that the app cannot change its own code.
COPY . .

# A copy keeps its modes, and a checkout under umask 077 is for its owner alone: the app must read it.
# The variables make the production settings complete for this one command: they are not set in the
# image, and lead to no server.
RUN chmod -R a+rX . \
 && SECRET_KEY=of-the-image-build ALLOWED_HOSTS=localhost DATABASE_URL=sqlite:///:memory: \
    REDIS_URL=redis://localhost CELERY_BROKER_URL=redis://localhost \
    python manage.py collectstatic --noinput

USER 10001:10001
