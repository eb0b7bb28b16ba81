export default { productionBrowserSourceMaps: true, poweredByHeader: false };
