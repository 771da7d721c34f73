"""The site's posts and comments: models, pages and warming jobs."""
