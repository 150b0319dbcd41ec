millrace_embed(millrace_gateway NAME AdminPageFile
  FILES admin_page.html admin_page.css admin_page.js admin_page.svg)
