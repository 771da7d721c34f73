"""Sample content for a first look at the site. Nothing else imports it."""
