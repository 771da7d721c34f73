"""The site's posts and their comments: models, pages and what keeps them warm."""
