// What a screen reader would find without a name, and what is named and is not there.
() => {
  const named = (each) => each.labels?.length || each.getAttribute('aria-label') || each.getAttribute('aria-labelledby')
    || each.textContent.trim() || each.getAttribute('alt') !== null;
  const found = [];
  for (const each of document.querySelectorAll('button, a, input, select, textarea, img, [role=img], [role=meter], dialog'))
    if (!named(each)) found.push(each.outerHTML.slice(0, 120));
  const ids = [...document.querySelectorAll('[id]')].map((each) => each.id);
  found.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `two elements are called ${id}`));
  for (const attribute of ['aria-labelledby', 'aria-describedby', 'for'])
    for (const each of document.querySelectorAll(`[${attribute}]`))
      for (const id of each.getAttribute(attribute).split(' '))
        if (!document.getElementById(id)) found.push(`${attribute} names ${id}, which is not there`);
  for (const role of ['main', 'header', 'nav', 'h1'])
    if (document.querySelectorAll(role).length !== 1) found.push(`there is not one ${role}`);
  if (!document.documentElement.lang) found.push('the page has no language');
  return found;
}
